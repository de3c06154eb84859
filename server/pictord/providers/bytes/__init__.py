"""The fast byte path: pictures travel between provider and gateway without the SDKs touching their bytes."""
