"""What developers measure: `python -m benchmarks NAME`. Not in the wheel; `python -m raes.bench` is for users."""
