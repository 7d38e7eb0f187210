# The databases of Airflow and MLflow, each with a user of its own; run again, it sets the passwords anew.
set -eu
for name in airflow mlflow; do
    case $name in
        airflow) password=$AIRFLOW_DATABASE_PASSWORD ;;
        mlflow) password=$MLFLOW_DATABASE_PASSWORD ;;
    esac
    psql --quiet --set ON_ERROR_STOP=1 --set name="$name" --set password="$password" <<'SQL'
SELECT format('CREATE ROLE %I LOGIN', :'name') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'name') \gexec
ALTER ROLE :"name" PASSWORD :'password';
SELECT format('CREATE DATABASE %I OWNER %I', :'name', :'name')
    WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
SQL
done
