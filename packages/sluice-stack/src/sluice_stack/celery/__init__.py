"""What a Celery worker, beat and the site's processes need beyond Celery's own. Needs the extra `async`."""
