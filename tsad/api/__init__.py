"""The HTTP API (`tsad serve`): what the database holds, for dashboards and other programs. docs/api.md."""
