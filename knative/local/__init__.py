"""The embedded host: one process that is API server, serving, eventing and jobs for one machine."""
