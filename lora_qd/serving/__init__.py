"""Serving a run's members as named models behind an OpenAI-compatible server.

Belongs here: choosing the members, their names and the server's settings, and saying
where it listens. Does not belong here: starting vLLM (``engines``), printing
(``cli``). Listens on this machine only.
"""
