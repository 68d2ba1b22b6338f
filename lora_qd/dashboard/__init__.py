"""What people look at: the report of a run, and the page on which it is watched.

Belongs here: the page with its scripts, pictures, the server on 127.0.0.1. Does not
belong here: which numbers make a chart (``runs.figures``), and anything that changes a
run; a view can be closed at any time and loses nothing.
"""
