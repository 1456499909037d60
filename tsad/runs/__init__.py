"""What people get from runs over history: what each found, as figures and as a page, and how two differ."""
