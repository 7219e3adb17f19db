"""The routes, one module a subject; `shared` holds what they have in common."""
