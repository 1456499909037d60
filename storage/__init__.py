"""What is kept: SQL, snapshots, model files."""
