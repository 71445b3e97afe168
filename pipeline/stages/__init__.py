"""The stages, in order. Each is one module here with ``run(context)``; none imports another."""
