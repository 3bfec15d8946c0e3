// Given to `node --test`: writes one line a test, its outcome and its name with the file it is in.

import { relative } from 'node:path'

export default async function * report (events) {
  for await (const { type, data } of events) {
    if (type !== 'test:pass' && type !== 'test:fail') continue
    // A file is told as a test around its tests; it counts by itself only when it has none.
    const file = relative(process.cwd(), data.file ?? '')
    if (data.details?.type === 'suite' || data.name === data.file || data.name === file) continue
    const skipped = data.skip !== undefined || data.todo !== undefined
    const outcome = type === 'test:fail' ? 'failed' : skipped ? 'skipped' : 'passed'
    yield `${outcome} ${file}::${JSON.stringify(data.name).slice(1, -1)}\n`
  }
}
