"""One stack on this machine: child processes in place of Jobs."""
