"""Event loops, threads and tasks: where the work of the library runs."""
