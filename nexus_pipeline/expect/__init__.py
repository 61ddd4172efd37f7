"""What tables are expected to be: proposed from data, accepted by a person, checked ever after."""
