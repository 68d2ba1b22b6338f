"""What runs inside bubblewrap: standard library only, nothing else of the project.

Three kinds of processes, from most to least trusted:

- the zygote waits for a job to arrive and never reads one;
- the supervisor is process 1 of the job's own namespaces: it reads the job, mounts
  fresh directories, holds it to its limits, kills what is left and answers;
- the program drops all rights and runs the source.
"""
