export async function endAgent(_dataDir: string): Promise<boolean> {
  return false
}
