-- `set-roles` runs it at each start, before the network is open, and again when a secret has changed. Creates missing roles, resets
-- their attributes and limits, and sets their passwords from the secrets. `migrate` grants the rights on tables.
\set ON_ERROR_STOP on
\set QUIET on
-- Otherwise a failing or slow statement would be logged with its password.
SET log_min_error_statement = 'panic';
SET log_min_duration_statement = -1;

SELECT format('CREATE ROLE %I', name) FROM unnest('{owner,wsgi,asgi,worker,celery,beat}'::name[]) AS name
WHERE name NOT IN (SELECT rolname FROM pg_roles)
\gexec
SELECT 'CREATE DATABASE sluice OWNER owner' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'sluice')
\gexec

BEGIN;

\set least 'LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD'
\getenv password PASSWORD_owner
ALTER ROLE owner :least :'password' CONNECTION LIMIT 5;
\getenv password PASSWORD_wsgi
ALTER ROLE wsgi :least :'password' CONNECTION LIMIT 60;
\getenv password PASSWORD_asgi
ALTER ROLE asgi :least :'password' CONNECTION LIMIT 30;
\getenv password PASSWORD_worker
ALTER ROLE worker :least :'password' CONNECTION LIMIT 20;
\getenv password PASSWORD_celery
ALTER ROLE celery :least :'password' CONNECTION LIMIT 20;
\getenv password PASSWORD_beat
ALTER ROLE beat :least :'password' CONNECTION LIMIT 5;
\unset password

-- These limits end statements that outlast their client's time-out, and abandoned transactions, which only hold locks and a connection.
-- They are lower than the client's limits: answer_within() in app/mysite, 10 s, and 20 s of celery. Beat's jobs may take longer.
ALTER ROLE wsgi SET statement_timeout = '8s';
ALTER ROLE wsgi SET idle_in_transaction_session_timeout = '30s';
ALTER ROLE asgi SET statement_timeout = '8s';
ALTER ROLE asgi SET idle_in_transaction_session_timeout = '10s';
ALTER ROLE worker SET statement_timeout = '8s';
ALTER ROLE worker SET idle_in_transaction_session_timeout = '30s';
ALTER ROLE celery SET statement_timeout = '15s';
ALTER ROLE celery SET idle_in_transaction_session_timeout = '5min';
ALTER ROLE beat SET statement_timeout = '5min';
ALTER ROLE beat SET idle_in_transaction_session_timeout = '60s';

ALTER DATABASE sluice OWNER TO owner;
REVOKE ALL ON DATABASE sluice FROM PUBLIC;
GRANT CONNECT ON DATABASE sluice TO wsgi, asgi, worker, celery, beat;

COMMIT;
