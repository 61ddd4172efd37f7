"""The .nxf file: a zip of JSON and safetensors that predicts from raw frames alone."""
