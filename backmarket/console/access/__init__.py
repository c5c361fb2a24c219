"""Who may use the console: passwords, an authenticating proxy, sessions, roles."""
