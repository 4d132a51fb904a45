/** Removes the cluster, whatever state a run has left it in. */
import { removeAll } from './namespaces.ts'

removeAll()
