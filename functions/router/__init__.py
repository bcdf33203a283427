"""Answers for one InferenceGraph: routes a request through its nodes. What is declared, `inference` reconciles."""
