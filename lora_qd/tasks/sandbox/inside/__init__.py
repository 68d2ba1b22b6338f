"""What runs inside bubblewrap: standard library only, nothing else of the project.

Four kinds of processes, from most to least trusted:

- the zygote waits for a job to arrive and never reads one;
- the supervisor reads it, holds it to its limits and answers;
- the init is process 1 of the job's own namespaces: it mounts fresh directories, reaps,
  kills what is left and reads the tree;
- the program drops all rights and runs the source.
"""
