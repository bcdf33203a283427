from .func import handle as handle
