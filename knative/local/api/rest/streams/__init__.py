"""What needs a connection in both directions: exec, attach and port-forward of Pods, over WebSockets or SPDY."""
