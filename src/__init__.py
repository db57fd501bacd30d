"""Two-stage detection of intracranial aneurysms in head CTA, MRA and MRI series."""
