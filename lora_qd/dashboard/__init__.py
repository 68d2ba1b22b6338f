"""Watching a run while it goes. Empty so far.

Belongs here: views of a run directory, read from the ledger. Does not belong here:
anything that changes a run; a view can be closed at any time and loses nothing.
"""
