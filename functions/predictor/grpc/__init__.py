"""The Open Inference Protocol over gRPC: messages, methods, and the HTTP/2 framing between them and the application."""
