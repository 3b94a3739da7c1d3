"""A notification service: one queue per channel, rows in SQLite, real mail over SMTP, SMS and push over HTTP."""
