"""Sharing runs and adapters: push, pull, model cards.

Belongs here: what turns a finished run into something others can download, and a
download into a run. Does not belong here: writing adapters (``store``), printing
(``cli``). Nothing here uploads what the user did not name.
"""
