"""The four APIs over one world. Each module: routes in, the real API's answers out."""
