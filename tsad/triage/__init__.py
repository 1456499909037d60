"""What becomes of alerts: rules, calendars, answers, incidents. Pure functions over alerts as they are stored."""
