"""One pipeline step per event: runs a component's Python in a fresh process, keeps its log, stores its outputs."""
