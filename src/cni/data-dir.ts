/** Where records, leases and the agent's socket are unless a configuration says otherwise: a tmpfs, which a reboot clears together with the links. */
export const DEFAULT_DATA_DIR = '/run/tunlink'
