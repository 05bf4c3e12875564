"""Brings a schema up to date, revision by revision. The only place that loads Alembic, which takes a while."""

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def upgrade(connection: Connection) -> None:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "runyard.db:migrations")
    command.upgrade(config, "head")
