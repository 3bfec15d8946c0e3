// Given to mocha: writes one line a test, its outcome and its name with the file it is in.

const { writeFileSync } = require('node:fs')
const { relative } = require('node:path')

module.exports = class {
  constructor (runner) {
    const lines = []
    const note = outcome => test => {
      const file = relative(process.cwd(), test.file ?? '')
      lines.push(`${outcome} ${file}::${JSON.stringify(test.fullTitle()).slice(1, -1)}\n`)
    }
    runner.on('pass', note('passed'))
    runner.on('fail', note('failed'))
    runner.on('fail', (test, error) => console.error(`${test.fullTitle()}:`, error))
    runner.on('pending', note('skipped'))
    runner.on('end', () => writeFileSync(process.env.SUITE_REPORT, lines.join('')))
  }
}
