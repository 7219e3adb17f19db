"""The API over gold: repository, routes and the dashboard page."""
