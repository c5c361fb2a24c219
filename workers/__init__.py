"""The processes: the Celery application, its configuration, the timetable, and how a process starts and stops."""
