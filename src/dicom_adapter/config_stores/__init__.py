"""The places where resources are kept, one module each. They implement `config.store.ConfigStore`."""
