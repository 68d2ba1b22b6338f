"""Skills that are tasks of other evaluation libraries: lm-eval and Inspect.

Belongs here: what the libraries ask, as our requests, and what they score, as our
scores. Does not belong here: tasks of our own.
"""
