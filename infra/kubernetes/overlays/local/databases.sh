# Run once by PostgreSQL's image, when its folder is empty: a database and a user for each that needs one.
set -eu
for name in airflow mlflow; do
    password=$(printenv "$(echo "$name" | tr a-z A-Z)_PASSWORD")
    psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --set name="$name" --set password="$password" <<'SQL'
CREATE USER :"name" PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
SQL
done
