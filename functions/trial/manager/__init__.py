"""Katib's DB manager, `api.v1.beta1.DBManager`: trials report metrics to it, clients read them, by gRPC.

A process of its own, because gRPC needs HTTP/2 trailers; the host starts it when somebody calls.
"""
