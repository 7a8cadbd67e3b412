/** Folders that are dropped, and the files in them (WICG's File and Directory Entries API). */

const told = (ask) => new Promise((resolve, reject) => ask(resolve, reject));

/** What is in a folder, by name. */
async function children(folder) {
  const reader = folder.createReader();
  const found = [];
  // It tells some at a time, and none at the end.
  for (let some; (some = await told((tell, fail) => reader.readEntries(tell, fail))).length; ) found.push(...some);
  return found.sort((one, other) => one.name.localeCompare(other.name));
}

/**
 * The files that entries stand for, those in folders and their folders as well; what is hidden there is left out.
 * @param {FileSystemEntry[]} entries what was dropped
 */
export async function files(entries) {
  const found = [];
  for (const entry of entries) {
    if (entry.isFile) found.push(await told((tell, fail) => entry.file(tell, fail)));
    else found.push(...(await files((await children(entry)).filter(({ name }) => !name.startsWith(".")))));
  }
  return found;
}
