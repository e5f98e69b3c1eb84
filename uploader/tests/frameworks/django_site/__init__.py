# A Django site as a team puts it behind a proxy: admin, sessions, CSRF, static files and uploads.
