"""Everything that runs on a developer machine: the command line, the one-process server, the dispatcher."""
