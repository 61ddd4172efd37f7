"""From a folder of tables to a project: what is there, what it means, and a file that says so."""
