"""What is done with alerts once they are stored: incidents. docs/incidents.md."""
