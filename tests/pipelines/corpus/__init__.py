"""Pipelines that use what the official ones do not, each with the end that KFP's semantics demand.

`expect` says how a pipeline ends and what it gives. The modules are compiled and submitted by `submit.py`, in an
environment with the official SDK alone.
"""
