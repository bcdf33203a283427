"""Serve the function project in the working directory with func-python, as the code that `func` generates does."""

import sys

sys.path.insert(0, ".")

import function

if sys.argv[1] == "cloudevent":
    from func_python.cloudevent import serve
else:
    from func_python.http import serve

serve(function.new if hasattr(function, "new") else function.handle)
