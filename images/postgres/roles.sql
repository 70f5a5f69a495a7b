-- Runs at each start, before the network is open. Creates missing roles, resets their attributes and limits, and sets their passwords
-- from the secrets. `migrate` grants the rights on tables.
\set ON_ERROR_STOP on
\set QUIET on
SET log_min_error_statement = 'panic';  -- otherwise a failing statement would be logged with its password

SELECT format('CREATE ROLE %I', name) FROM unnest('{owner,wsgi,asgi,worker,celery,beat}'::name[]) AS name
WHERE name NOT IN (SELECT rolname FROM pg_roles)
\gexec
SELECT 'CREATE DATABASE sluice OWNER owner' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'sluice')
\gexec

BEGIN;

\set least 'LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD'
\set password `cat /run/sluice/secrets/db_owner`
ALTER ROLE owner :least :'password' CONNECTION LIMIT 5;
\set password `cat /run/sluice/secrets/db_wsgi`
ALTER ROLE wsgi :least :'password' CONNECTION LIMIT 60;
\set password `cat /run/sluice/secrets/db_asgi`
ALTER ROLE asgi :least :'password' CONNECTION LIMIT 30;
\set password `cat /run/sluice/secrets/db_worker`
ALTER ROLE worker :least :'password' CONNECTION LIMIT 20;
\set password `cat /run/sluice/secrets/db_celery`
ALTER ROLE celery :least :'password' CONNECTION LIMIT 20;
\set password `cat /run/sluice/secrets/db_beat`
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
