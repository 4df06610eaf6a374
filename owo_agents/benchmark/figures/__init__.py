"""What the runs come to: figures, their spread over seeds, rankings, certificates, claims."""
