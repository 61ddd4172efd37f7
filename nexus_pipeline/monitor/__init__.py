"""What moved since training: inputs, predictions, labels, and the entities nobody trained on."""
