"""Training one adapter per skill with TRL; the experts seed the archives.

Belongs here: data sets in TRL's form, the trainer's settings, the base model as it
is loaded for training. Does not belong here: scoring (``evaluation``), the search.
"""
