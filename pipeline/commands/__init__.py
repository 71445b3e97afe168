"""The verbs: a module each, with ``add_arguments(parser)`` and ``run(arguments)``; the table is in `__main__`."""
